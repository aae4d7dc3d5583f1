"""What everything else stands on: errors, randomness, devices, processes, words; nothing here knows a run."""
