"""Detection dataset to question-answer rows: records, images, readers, segmenters, anatomy, rationale, questions, shards."""
