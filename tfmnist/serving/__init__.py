"""HTTP over an exported model."""
