"""What is measured of a run's pairs beside its table; each study measures, tabulates and draws itself."""
