"""Many runs: rows of settings as a queue, on this machine or others, and one table of them all."""
