"""Detection dataset to question rows: records, images, readers, segmenters, anatomy, rationale, questions, shards."""
