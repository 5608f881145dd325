"""Learning by heart is noticed while it happens, and not where it does not."""

from __future__ import annotations

import csv
import io

import pytest

from toolchain.overfitting import noticed, overfitting
from toolchain.values import EpochRecord

# Runs of the recipes as they were: run, validation photos, phase, epoch, loss and accuracy on
# train, the same on validation.
HISTORIES = """\
digits,289,train,1,2.1284,0.2541,1.8289,0.3806
digits,289,train,2,1.7282,0.4256,1.5938,0.4429
digits,289,train,3,1.5489,0.5013,1.4624,0.5502
digits,289,train,4,1.4687,0.5152,1.3971,0.5398
digits,289,train,5,1.4139,0.5422,1.3084,0.5779
digits,289,train,6,1.3755,0.5596,1.2632,0.5848
digits,289,fine_tune,0,1.2632,0.5848,1.2632,0.5848
digits,289,fine_tune,1,0.9248,0.6823,0.4258,0.8581
digits,289,fine_tune,2,0.3304,0.8825,0.2321,0.8997
digits,289,fine_tune,3,0.201,0.9312,0.1572,0.9412
digits,289,fine_tune,4,0.1557,0.9434,0.1717,0.9308
digits,289,fine_tune,5,0.133,0.9565,0.064,0.9758
digits,289,fine_tune,6,0.0766,0.9713,0.0933,0.9723
digits,289,fine_tune,7,0.0832,0.9721,0.0578,0.9862
digits,289,fine_tune,8,0.0531,0.98,0.0328,0.9896
digits,289,fine_tune,9,0.0432,0.9835,0.0372,0.9931
digits,289,fine_tune,10,0.0349,0.9887,0.0499,0.9827
digits,289,fine_tune,11,0.0343,0.9869,0.0406,0.9896
digits,289,fine_tune,12,0.0359,0.993,0.0396,0.9896
digits,289,quantize,0,0.0357,0.9862,0.0357,0.9862
digits,289,quantize,1,0.0374,0.9843,0.0374,0.9862
digits,289,quantize,2,0.0321,0.9922,0.0359,0.9931
digits,289,quantize,3,0.0201,0.9956,0.03,0.9931
cats,394,train,1,0.166,0.9343,0.0792,0.9721
cats,394,train,2,0.0689,0.9754,0.0553,0.9721
cats,394,train,3,0.0557,0.9781,0.0495,0.9746
cats,394,train,4,0.0439,0.9873,0.0465,0.9772
cats,394,train,5,0.0353,0.9885,0.0456,0.9772
cats,394,train,6,0.034,0.9904,0.0426,0.9772
cats,394,fine_tune,0,0.0426,0.9772,0.0426,0.9772
cats,394,fine_tune,1,0.0361,0.9866,0.0405,0.9797
cats,394,fine_tune,2,0.0165,0.9958,0.0256,0.9898
cats,394,fine_tune,3,0.0098,0.9981,0.0261,0.9898
cats,394,fine_tune,4,0.0067,0.9985,0.0309,0.9873
cats,394,fine_tune,5,0.0038,0.9996,0.0322,0.9873
cats,394,fine_tune,6,0.0035,0.9996,0.033,0.9873
cats,394,quantize,0,0.0426,0.9797,0.0426,0.9797
cats,394,quantize,1,0.0105,0.9965,0.0449,0.9848
cats,394,quantize,2,0.0041,0.9985,0.0266,0.9873
cats no flips,394,train,1,0.1178,0.9541,0.046,0.9797
cats no flips,394,train,2,0.0481,0.9837,0.0441,0.9822
cats no flips,394,train,3,0.0352,0.9892,0.0415,0.9797
cats no flips,394,train,4,0.0275,0.9925,0.0391,0.9746
cats no flips,394,train,5,0.0263,0.9906,0.0399,0.9797
cats no flips,394,train,6,0.0204,0.9937,0.0457,0.9772
cats no flips,394,train,7,0.0168,0.9954,0.0493,0.9797
cats no flips,394,train,8,0.0142,0.9958,0.0605,0.9695
cats no flips,394,train,9,0.0129,0.9967,0.0545,0.9772
cats no flips,394,fine_tune,0,0.0391,0.9746,0.0391,0.9746
cats no flips,394,fine_tune,1,0.0383,0.9843,0.0399,0.9822
cats no flips,394,fine_tune,2,0.0191,0.9916,0.034,0.9848
cats no flips,394,fine_tune,3,0.0091,0.9985,0.032,0.9873
cats no flips,394,fine_tune,4,0.0074,0.9981,0.0335,0.9873
cats no flips,394,quantize,0,0.0388,0.9772,0.0388,0.9772
cats no flips,394,quantize,1,0.01,0.9969,0.0464,0.9797
cats no flips,394,quantize,2,0.0026,1,0.0496,0.9797
digits few epochs,289,train,1,2.1695,0.2437,2.0184,0.346
digits few epochs,289,train,2,1.924,0.3847,1.8218,0.4118
digits few epochs,289,train,3,1.7652,0.4961,1.6876,0.5156
digits few epochs,289,train,4,1.6626,0.51,1.5885,0.5952
digits few epochs,289,train,5,1.5729,0.5683,1.5139,0.5952
digits few epochs,289,train,6,1.5152,0.5318,1.4602,0.5709
digits few epochs,289,train,7,1.4658,0.564,1.4082,0.5813
digits few epochs,289,train,8,1.4185,0.5883,1.3611,0.6298
digits few epochs,289,fine_tune,0,1.3611,0.6298,1.3611,0.6298
digits few epochs,289,fine_tune,1,0.8585,0.7493,0.3216,0.8927
digits few epochs,289,fine_tune,2,0.2018,0.9356,0.1601,0.9481
digits few epochs,289,fine_tune,3,0.0844,0.9791,0.0895,0.9723
digits few epochs,289,fine_tune,4,0.035,0.993,0.0991,0.9654
digits few epochs,289,quantize,0,0.0948,0.9758,0.0948,0.9758
digits few epochs,289,quantize,1,0.0538,0.9826,0.1293,0.955
"""


def record(
    epoch: int, loss: float, train: float, held_loss: float, held: float, phase: str = "train"
) -> EpochRecord:
    return EpochRecord(phase, epoch, loss, train, held_loss, held, 1e-3, 1.0)


def phases() -> dict[tuple[str, int, str], list[EpochRecord]]:
    found: dict[tuple[str, int, str], list[EpochRecord]] = {}
    for run, photos, phase, epoch, *figures in csv.reader(io.StringIO(HISTORIES)):
        one = record(int(epoch), *map(float, figures), phase=phase)
        found.setdefault((run, int(photos), phase), []).append(one)
    return found


@pytest.mark.parametrize(("name", "history"), phases().items(), ids=str)
def test_runs_that_went_well_raise_no_alarm(name, history) -> None:
    assert noticed(history, photos=name[1]) == ""


def test_by_heart_while_the_validation_loss_rises() -> None:
    history = [record(1, 3.0, 0.30, 3.2, 0.27), record(2, 2.0, 0.55, 3.3, 0.30)]
    told = noticed(history, photos=1000)
    assert "train learns its photos by heart from epoch 2 on, 55.0% on train, 30.0% on" in told
    for remedy in ("more photos", "[augment]", "dropout", "weight_decay", "fewer epochs"):
        assert remedy in told
    # The first epoch that shows it is told, whatever follows.
    assert noticed([*history, record(3, 1.0, 0.8, 4.0, 0.3)], photos=1000) == told
    assert noticed(history[:1], photos=1000) == ""


def test_a_large_gap_counts_from_the_second_time_on() -> None:
    """In the first epoch of a network from random weights, statistics of batches lag behind."""
    first, second = record(1, 1.5, 0.6, 3.0, 0.2), record(2, 0.9, 0.8, 1.2, 0.6)
    assert noticed([first], photos=1000) == ""
    assert "from epoch 2 on" in noticed([first, second], photos=1000)
    assert noticed([first, record(2, 0.9, 0.8, 0.8, 0.78)], photos=1000) == ""
    # The start of a phase has no figures of its own on train photos.
    assert noticed([record(0, 3.0, 0.2, 3.0, 0.2), record(1, 0.9, 0.8, 1.2, 0.6)], 1000) == ""


def test_of_hundreds_of_classes_few_points_are_much() -> None:
    history = [record(1, 5.95, 0.003, 5.91, 0.003), record(2, 5.80, 0.020, 5.93, 0.004)]
    assert noticed(history, photos=7300)
    assert noticed([history[0], record(2, 5.80, 0.020, 5.90, 0.004)], photos=7300) == ""


def test_few_photos_may_miss_by_chance() -> None:
    history = [record(1, 0.6, 0.75, 0.60, 0.70), record(2, 0.4, 0.85, 0.61, 0.72)]
    assert noticed(history, photos=2000)
    assert noticed(history, photos=40) == ""


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_start_has_no_train_loss_to_compare_with(smoothing: float) -> None:
    """Training's loss has smoothing in it; validation's, which the start has, has not."""
    validation = (0.30, 0.45, 0.62)
    phase = [EpochRecord("fine_tune", 0, 0.30, 0.90, 0.30, 0.90, 0.0, 0.0)] + [
        EpochRecord("fine_tune", epoch, smoothing + 0.2 / epoch, 0.99, loss, 0.90, 1e-4, 1.0)
        for epoch, loss in enumerate(validation[1:], start=1)
    ]
    assert "by heart" in noticed(phase, 1000)
    found = overfitting(phase, 1)
    assert found is not None
    assert found.rising
