"""Loaders of benchmarks, one file a kind of source; :mod:`medclm.eval.benchmarks` names them."""
