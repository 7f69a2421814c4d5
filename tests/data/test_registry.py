from __future__ import annotations

import subprocess
import sys

import pytest

from grng.data import check_dataset_name, dataset_info, list_datasets
from grng.errors import GrngError, UnknownNameError


def test_lists_the_built_in_data_sets_with_their_sizes() -> None:
    sizes = {info.name: (info.train, info.val, info.test, info.num_classes) for info in list_datasets()}
    assert sizes == {"mnist5k": (3500, 500, 1000, 10), "digits": (1257, 180, 360, 10), "sphere": (256, 256, 512, 2)}


def test_listing_loads_no_torch() -> None:
    code = "import sys, grng.data; grng.data.list_datasets(); print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_unknown_name_says_what_is_near() -> None:
    with pytest.raises(UnknownNameError) as caught:
        check_dataset_name("mnst5k")
    assert str(caught.value) == "there is no data set 'mnst5k'. Did you mean 'mnist5k'?"


def test_unknown_name_with_nothing_near_lists_all() -> None:
    with pytest.raises(UnknownNameError) as caught:
        check_dataset_name("zzz")
    assert str(caught.value) == (
        "there is no data set 'zzz'. "
        "Known: mnist5k, digits, sphere, and of files: folder, torch/NAME, hfds/NAME, tfds/NAME, wds/NAME."
    )


def test_a_name_without_its_door_gets_it() -> None:
    with pytest.raises(UnknownNameError) as caught:
        check_dataset_name("imagenet")
    assert str(caught.value) == "there is no data set 'imagenet'. Did you mean 'torch/imagenet'?"


@pytest.mark.parametrize("size", [0, 3, 513, -32])
def test_image_size_out_of_range(size: int) -> None:
    with pytest.raises(GrngError) as caught:
        dataset_info("digits").check_img_size(size)
    assert str(caught.value) == (
        f"the image size of digits must be from 4 to 512 pixels, not {size}. Its default is 32."
    )
