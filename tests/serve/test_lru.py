"""The byte-bounded cache."""

from __future__ import annotations

from medclm.serve.lru import ByteCache


def test_the_oldest_used_is_forgotten():
    cache: ByteCache[str, int] = ByteCache(10)
    cache.put("a", 1, 4)
    cache.put("b", 2, 4)
    assert cache.get("a") == 1
    cache.put("c", 3, 4)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    assert (cache.used, len(cache), cache.hits, cache.misses) == (8, 2, 3, 1)
    cache.put("large", 4, 11)
    assert cache.get("large") is None
    cache.put("a", 9, 4)
    assert cache.get("a") == 1
