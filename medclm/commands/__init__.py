"""The commands of ``medclm``: options in, one call, result out. Nothing heavy is imported before one runs."""
