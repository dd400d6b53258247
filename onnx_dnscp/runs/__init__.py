"""What a run was asked for, what it leaves behind, and what it reports."""
