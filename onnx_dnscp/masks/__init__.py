"""Stage 4a, masks: which units are off at the moment, and the rules that decide."""
