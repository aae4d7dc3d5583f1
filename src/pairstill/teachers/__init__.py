"""Expert trajectories: recorded while teachers train, stored compactly, interpolated into shortcuts."""
