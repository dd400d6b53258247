"""Stage 3, discover units: channel ids that flow through the graph like data."""
