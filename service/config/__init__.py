"""What the operator wrote down: the file countersign.toml, policies, and the version of a workflow."""
