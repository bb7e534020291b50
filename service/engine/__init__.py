"""What runs cases: jobs, workers, and the delivery of mandates."""
