"""What is measured about a model: costs, quality, damage, time, and whether a result is right."""
