"""The three-stage curriculum: views of one record, one loop, one schedule."""
