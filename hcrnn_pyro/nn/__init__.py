"""Neural parts of the probabilistic programs: cells, readouts, encoders."""
