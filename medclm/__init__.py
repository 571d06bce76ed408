"""MedCLM: detection datasets in, a vision-language model that finds, explains and answers out (arXiv 2510.04477)."""

__version__ = "0.1.0"
