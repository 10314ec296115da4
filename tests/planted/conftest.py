"""The images of the planted world, drawn once."""

import pytest
from planted_support import N_IMAGES, SEED, World

from hones_core.planted.families import FAMILIES
from hones_core.planted.world import draw_scenes


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    return World(folder, draw_scenes(folder, N_IMAGES, SEED))


@pytest.fixture(params=list(FAMILIES))
def family(request):
    """Every family that can be planted."""
    return request.param
