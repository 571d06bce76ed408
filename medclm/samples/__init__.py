"""Detection datasets to start with: synthetic phantoms and one real CT."""
