"""Time grids: their defining property, exact ends, short grids and error sentences."""

import math
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest

from sgmsolve import grid
from sgmsolve.errors import GridError
from sgmsolve.process import EDM, VE, VP, Flow, SubVP, linear_betas

PROCESSES = [VP(), VP.scaled_linear(), VP.cosine(), VP.discrete(linear_betas(1000))]
PROCESSES += [VE(), SubVP(), EDM(), Flow()]
NAMED = ("uniform", "quadratic", "log-snr", "karras")
each_process = pytest.mark.parametrize("process", PROCESSES, ids=repr)


def start_of(process, name):
    """A start the grid allows: t_max, or just below it where the log-SNR is infinite."""
    return process.largest_usable_time() if name in ("log-snr", "karras") else process.t_max


@each_process
@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("steps", [1, 2, 3, 50])
def test_ends_are_exact_and_times_decrease(process, name, steps):
    start = start_of(process, name)
    for low in (process.t_min, 0.1):
        times = grid.make(name, process, steps, t_max=start, t_min=low)
        assert (times.shape, times.dtype) == ((steps + 1,), np.float64)
        assert (times[0], times[-1]) == (start, low)
        assert np.all(np.diff(times) < 0)
    if process.initial_variance == 0:
        times = grid.make(name, process, steps, t_max=start, final="zero")
        assert (len(times), times[0], times[-1]) == (steps + 1, start, 0.0)
        assert steps == 1 or times[-2] == process.t_min
        assert np.all(np.diff(times) < 0)


@each_process
def test_equal_steps_in_the_promised_variable(process):
    variables = {
        "uniform": lambda t: t,
        "quadratic": math.sqrt,
        "log-snr": lambda t: math.log(process.alpha(t) / process.sigma(t)),
        "karras": lambda t: (process.sigma(t) / process.alpha(t)) ** (1 / 7),
    }
    for name, variable in variables.items():
        times = grid.make(name, process, 13, t_max=start_of(process, name), t_min=0.01)
        steps = np.diff([variable(t) for t in times.tolist()])
        np.testing.assert_allclose(steps, steps.mean(), rtol=1e-10)


def test_options():
    times = grid.quadratic(Flow(), 10, power=3.0)
    np.testing.assert_allclose(np.diff(np.cbrt(times)), -(1 - 0.1) / 10, rtol=1e-12)
    times = grid.karras(EDM(), 10, rho=3.0)
    np.testing.assert_allclose(np.diff(np.cbrt(times), 2), 0.0, atol=1e-13)


def test_karras_is_the_published_formula_on_edm():
    """Karras et al. 2022, eq. 5: N levels from sigma_max to sigma_min, then zero."""
    n, rho = 18, 7
    i = np.arange(n)
    a, b = 80 ** (1 / rho), 0.002 ** (1 / rho)
    wanted = np.append((a + i / (n - 1) * (b - a)) ** rho, 0.0)
    np.testing.assert_allclose(grid.karras(EDM(), n, final="zero"), wanted, rtol=1e-13)


def test_uniform_is_numpys_linspace():
    np.testing.assert_allclose(grid.uniform(VP(), 7), np.linspace(1, 1e-3, 8), rtol=1e-15)


DIFFUSERS = [
    # The formulas of DDIMScheduler.set_timesteps, evaluated by hand for T = 1000.
    ({"spacing": "leading"}, 10, [900, 800, 700, 600, 500, 400, 300, 200, 100, 0]),
    ({"spacing": "leading", "offset": 1}, 4, [751, 501, 251, 1]),
    ({"spacing": "trailing"}, 10, [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]),
    ({"spacing": "trailing"}, 3, [999, 666, 332]),
    ({"spacing": "linspace"}, 10, [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]),
    # DPMSolverMultistepScheduler and UniPCMultistepScheduler: N + 1 spaced, the last one dropped.
    ({"spacing": "linspace", "drop_last": True}, 4, [999, 749, 500, 250]),
    ({"spacing": "leading", "drop_last": True, "offset": 1}, 4, [801, 601, 401, 201]),
    ({"spacing": "trailing", "drop_last": True}, 4, [999, 749, 499, 249]),
]


@pytest.mark.parametrize(("options", "steps", "indices"), DIFFUSERS)
def test_table_indices_are_those_of_diffusers(options, steps, indices):
    assert grid.table_indices(1000, steps, **options).tolist() == indices
    wanted = [(n + 1) / 1000 for n in indices] + [0.0]
    for process in (VP(), VP.discrete(linear_betas(1000))):
        np.testing.assert_array_equal(grid.table(process, steps, **options), wanted)


def test_tables_end_where_they_are_told_to():
    process = VP.discrete(linear_betas(1000))
    assert grid.table(process, 5, offset=1, final="t_min")[-1] == process.t_min == 0.001
    assert grid.table(process, 1, spacing="trailing").tolist() == [1.0, 0.0]
    assert grid.table(process, 1000)[:2].tolist() == [1.0, 0.999]
    assert grid.table(VP(), 5, train_steps=50)[0] == 0.82
    with pytest.raises(GridError, match=r"already ends at index 0.*pass offset=1"):
        grid.table(process, 5, final="t_min")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grid.table(EDM(), 5), "training steps of a VP process, but EDM"),
        (lambda: grid.table(VP(), 1001), "1001 steps were asked of a table of 1000 entries"),
        (lambda: grid.table(VP(), 5, spacing="trailling"), "Did you mean 'trailing'"),
        (lambda: grid.table(VP(), 5, offset=300), "use a smaller offset"),
        (lambda: grid.table(VP(), 5, spacing="linspace", offset=-1), "out of the table"),
        (lambda: grid.table(VP.discrete([0.1] * 9), 2, train_steps=1000), "table of 9 entries"),
    ],
)
def test_impossible_tables(call, message):
    with pytest.raises(GridError, match=message):
        call()


@each_process
def test_default_grids_build(process):
    name = grid.default_grid(process)
    expected = {"VE": "karras", "EDM": "karras", "Flow": "uniform", "SubVP": "log-snr"}
    cosine = process == VP.cosine()
    assert name == expected.get(type(process).__name__, "uniform" if cosine else "log-snr")
    times = grid.make(name, process, 10)
    assert (times[0], times[-1]) == (process.t_max, process.t_min)


@pytest.mark.parametrize("name", ["log-snr", "karras"])
@pytest.mark.parametrize("process", [Flow(), VP.cosine()], ids=repr)
def test_no_log_snr_grid_from_zero_alpha(process, name):
    with pytest.raises(GridError, match=r"where alpha = 0; pass t_max <= 0\.999"):
        grid.make(name, process, 5)
    assert grid.make(name, process, 5, t_max=process.largest_usable_time())[0] < 1


def test_log_snr_cannot_end_at_zero():
    with pytest.raises(GridError, match="cannot end at t_min = 0, where the log-SNR is infinite"):
        grid.log_snr(VP(), 5, t_min=0.0)
    assert grid.log_snr(VE(), 5, t_min=0.0)[-1] == 0.0
    assert grid.karras(VP(), 5, t_min=0.0)[-1] == 0.0


@pytest.mark.parametrize("steps", [0, -3, 2.5, 2.0, "10", None, True, math.nan])
@pytest.mark.parametrize("name", [*NAMED, "table"])
def test_impossible_step_counts(name, steps):
    with pytest.raises(GridError, match=r"needs a (whole )?number of steps"):
        grid.make(name, VP(), steps)


def test_numpy_integers_count():
    assert len(grid.uniform(VP(), np.int64(4))) == 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grid.make("karas", EDM(), 5), "unknown grid 'karas'. Did you mean 'karras'"),
        (lambda: grid.make("karras", EDM(), 5, rh=3), "option of the karras grid 'rh'. Did you m"),
        (lambda: grid.make("uniform", EDM(), 5, rho=3), "unknown option of the uniform grid 'rho'"),
        (lambda: grid.make([1.0, 0.5], VP(), rho=7.0), "takes no options, but rho"),
        (lambda: grid.make([1.0, 0.5], VP(), 7), "2 times make 1 steps, but steps = 7"),
        (lambda: grid.uniform(VP(), 5, t_max=1.5), r"t_max = 1.5 lies outside .* \[0, 1\]"),
        (lambda: grid.karras(EDM(), 5, t_max=81), r"t_max = 81 lies outside .* \[0, 80\]"),
        (lambda: grid.uniform(VP(), 5, t_min=-0.1), "t_min = -0.1 lies outside"),
        (lambda: grid.uniform(VP(), 5, t_min=math.nan), "t_min = nan lies outside"),
        (lambda: grid.uniform(VP(), 5, t_max=0.1, t_min=0.2), "t_min = 0.2 must be smaller"),
        (lambda: grid.uniform(VP(), 5, t_max=0.1, t_min=0.1), "t_min = 0.1 must be smaller"),
        (lambda: grid.uniform(VP(), 5, t_max="1"), "t_max must be a number, but '1'"),
        (lambda: grid.log_snr(VP(), 5, t_max="1"), "t_max must be a number, but '1'"),
        (lambda: grid.karras(VP(), 5, t_min=[0.1]), "t_min must be a number, but "),
        (lambda: grid.uniform(VP(), 5, final="zro"), "Did you mean 'zero'"),
        (lambda: grid.uniform(VE(), 5, final="zero"), r"sigma\(0\) is not zero for VE"),
        (lambda: grid.uniform(VP(), 5, final="zero", t_min=0.0), "but t_min = 0 was given"),
        (lambda: grid.karras(EDM(), 5, rho=0), "rho must be a finite positive number, but 0"),
        (lambda: grid.quadratic(VP(), 5, power=math.inf), "power must be a finite positive"),
    ],
)
def test_impossible_grids(call, message):
    with pytest.raises(GridError, match=message):
        call()


def test_more_steps_than_floats_is_a_sentence():
    with pytest.raises(GridError, match="a grid must decrease, but grid"):
        grid.uniform(VP(), 1000, t_max=0.5 + 2e-15, t_min=0.5)


def test_custom_times():
    times = grid.custom([1, 0.5, 0], VP())
    assert (times.dtype, times.tolist()) == (np.float64, [1.0, 0.5, 0.0])
    assert grid.custom([1, Fraction(1, 4)], VP()).dtype == np.float64
    assert grid.make((1.0, 0.2), VP(), 1).tolist() == [1.0, 0.2]
    assert grid.make("log_snr", VP(), 2).tolist() == grid.log_snr(VP(), 2).tolist()
    with mp.workdps(50):
        exact = grid.custom([mp.mpf(1), mp.mpf("0.1"), mp.mpf("0.01")], VP())
        assert exact.dtype == object
        assert exact[1] == mp.mpf("0.1") != 0.1


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0.1, 0.5], r"grid\[0\] = 0.1 <= grid\[1\] = 0.5; .* \(pass grid\[::-1\]\?\)"),
        ([1.0, 0.5, 0.5], r"grid\[1\] = 0.5 <= grid\[2\] = 0.5"),
        ([1.0], "at least two times"),
        ([], "at least two times"),
        ([[1.0, 0.5]], r"an array of shape \(1, 2\)"),
        (0.5, r"an array of shape \(\)"),
        ([1.2, 0.5], r"grid\[0\] = 1.2 lies outside"),
        ([1.0, -0.5], r"grid\[1\] = -0.5 lies outside"),
        ([1.0, math.nan], r"grid\[1\] = nan lies outside"),
        ([1.0, None], "a grid holds real numbers"),
        (["1", "0.5"], "a grid holds real numbers"),
        ([1.0, 0.5j], "a grid holds real numbers"),
        ([[1.0], [0.5, 0.1]], "at least two times"),
    ],
)
def test_bad_custom_times(times, message):
    with pytest.raises(GridError, match=message):
        grid.custom(times, VP())
    with pytest.raises(GridError, match=message):
        grid.make(times, VP())
