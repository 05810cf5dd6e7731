"""The questions that an analysis answers, a file each: subject in, section out."""
