import numpy as np

from medclm.samples import fields


def test_grid_is_centred_in_millimetres():
    grid = fields.make_grid(4, 8.0)
    assert grid.spacing_mm == 2.0
    assert grid.x[0].tolist() == [-3.0, -1.0, 1.0, 3.0]
    assert grid.y[:, 0].tolist() == [-3.0, -1.0, 1.0, 3.0]


def test_tilted_grid_keeps_distances():
    plain, tilted = fields.make_grid(8, 80.0), fields.make_grid(8, 80.0, tilt_deg=30)
    assert np.allclose(np.hypot(plain.x, plain.y), np.hypot(tilted.x, tilted.y), atol=1e-3)
    assert not np.allclose(plain.x, tilted.x)


def test_soft_edge_values():
    distance = np.array([-5.0, -1.0, 0.0, 1.0, 5.0], dtype=np.float32)
    assert np.allclose(fields.soft(distance, 2.0), [0.0, 0.15625, 0.5, 0.84375, 1.0])  # 3t² − 2t³ at t = 1/4, 3/4
    assert distance.tolist() == [-5.0, -1.0, 0.0, 1.0, 5.0]


def test_smooth_min_is_the_minimum_away_from_the_crease_and_below_it_there():
    a, b = np.array([0.0, 10.0, 3.0], dtype=np.float32), np.array([10.0, 0.0, 3.0], dtype=np.float32)
    assert fields.smooth_min(a, b, radius_mm=4).tolist() == [0.0, 0.0, 2.0]  # min − k/4 where both are equal
    assert fields.smooth_max(a, b, radius_mm=4).tolist() == [10.0, 10.0, 4.0]


def test_ellipse_has_its_radii():
    grid = fields.make_grid(200, 200.0)
    mask = fields.ellipse(grid, (10, -20), (40, 20)) > 0
    assert (mask.any(axis=0).sum(), mask.any(axis=1).sum()) == (80, 40)
    assert abs(grid.x[mask].mean() - 10) < 0.1
    assert abs(grid.y[mask].mean() + 20) < 0.1


def test_smooth_noise_is_seeded_smooth_and_of_unit_size():
    first, again = (fields.smooth_noise(np.random.default_rng(3), 128, 16) for _ in range(2))
    assert np.array_equal(first, again)
    assert abs(first.mean()) < 0.3
    assert 0.7 < first.std() < 1.3
    assert np.abs(np.diff(first, axis=0)).max() < 0.6


def test_crop_holds_the_region_and_no_more():
    region = np.zeros((5, 6), dtype=bool)
    region[1:3, 4] = True
    assert fields.crop_of(region) == (slice(1, 3), slice(4, 5))
    assert fields.crop_of(np.zeros((2, 2), dtype=bool)) == (slice(0, 0), slice(0, 0))
