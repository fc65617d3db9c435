"""Ready receivers: what people instrument for, one module each."""
