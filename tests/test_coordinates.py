"""Coordinates as fractions of the view: codec, smooth absolute error, flip test."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lib.codecs.coordinates import CoordinatesCodec
from lib.tasks.coordinates import CoordinatesSupervised
from tests import by_heart


def test_literal_fractions():
    codec = CoordinatesCodec((4, 10))
    keypoints = torch.tensor([[[-0.5, -0.5], [4.5, 1.5], [9.5, 3.5]]])  # edges and middle; pixel centres are whole
    assert codec.encode(keypoints).tolist() == [[[0, 0], [0.5, 0.5], [1, 1]]]
    assert codec.inside(keypoints).tolist() == [[True, True, False]]


@settings(deadline=None)
@given(x=st.floats(-50, 150), y=st.floats(-50, 150))
def test_encode_and_decode_invert(x, y):
    codec, keypoints = CoordinatesCodec((64, 96)), torch.tensor([[[x, y]]])
    torch.testing.assert_close(codec.decode(codec.encode(keypoints)), keypoints, atol=1e-4, rtol=1e-5)


def test_loss_of_three_joints():
    batch = by_heart.people(32, count=1)
    batch = replace(batch, keypoints=torch.tensor([[[1.5, 3.5], [7.0, 7.0], [40.0, 5.0]]]))
    batch = replace(batch, visible=torch.tensor([[True, False, True]]))  # the last is outside the view
    task = CoordinatesSupervised(nn.Identity(), CoordinatesCodec((8, 16)), ())
    fractions = torch.tensor([[[2 / 16 + 0.5, 4 / 8 - 3], [0.0, 0.0], [0.0, 0.0]]])
    # Half the square below 1, the distance less a half above; six coordinates.
    assert task.losses((fractions, fractions, None), batch)["regression"].item() == pytest.approx((0.125 + 2.5) / 6)


class Answers(nn.Module):
    """A network that gives one answer to images whose first pixel is positive, and another to all others."""

    def __init__(self, plain: Tensor, mirrored: Tensor, scores: tuple[Tensor, Tensor]):
        super().__init__()
        self.plain, self.mirrored, self.scores = plain, mirrored, scores

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = images[0, 0, 0, 0] > 0
        return self.plain if first else self.mirrored, self.plain, self.scores[0 if first else 1]


def test_flip_test_averages_the_mirrored_answer_of_the_right_joint():
    # Three joints of which the last two change sides.
    plain = torch.tensor([[[0.2, 0.3], [0.1, 0.5], [0.9, 0.4]]])
    mirrored = torch.tensor([[[0.6, 0.5], [0.3, 0.6], [0.7, 0.7]]])
    scores = torch.tensor([[1.0, 0.5, 0.0]]), torch.tensor([[0.0, 0.2, 0.9]])
    task = CoordinatesSupervised(Answers(plain, mirrored, scores), CoordinatesCodec((10, 20)), ((1, 2),))
    images = torch.tensor([1.0, 0, 0, -1]).expand(1, 3, 2, 4)
    keypoints, found = task.predict(images, flip_test=True)
    expected = torch.tensor([[[0.3, 0.4], [0.2, 0.6], [0.8, 0.5]]]) * torch.tensor([20, 10]) - 0.5
    torch.testing.assert_close(keypoints, expected)
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.7, 0.1]]))
    torch.testing.assert_close(task.predict(images)[0], plain * torch.tensor([20, 10]) - 0.5)
