"""One small file a source format; every reader yields :class:`medclm.data.records.Record` without pixels."""
