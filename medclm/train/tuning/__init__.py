"""What `medclm tune` is made of: space, proposals, early stopping, trials on disk, comparison, report."""
