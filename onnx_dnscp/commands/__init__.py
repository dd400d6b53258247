"""The commands as plain functions; only they know the order of the stages."""
