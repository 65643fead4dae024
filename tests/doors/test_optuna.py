"""What `doors/optuna.py` relies on, on every version of Optuna."""

from pathlib import Path

import pytest

optuna = pytest.importorskip("optuna")

from swarm_lightning.doors.optuna import taken_up  # noqa: E402

pytestmark = pytest.mark.smoke
DOOR = f"swarm_lightning/doors/optuna.py relies on it, and optuna is {optuna.__version__}"


def test_a_running_trial_of_another_process_is_gone_on_with(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    begun = optuna.create_study(storage=url, study_name="one", direction="maximize").ask()
    drawn = begun.suggest_float("length", 0.0, 1.0)
    begun.set_user_attr("place", "here")

    study = optuna.load_study(study_name="one", storage=url)
    (frozen,) = study.get_trials(states=[optuna.trial.TrialState.RUNNING])
    trial = taken_up(study, frozen)
    what = f"Expected a trial that is taken up to be the one that was begun: {DOOR}."
    assert (trial.number, trial.user_attrs, trial.params) == (0, {"place": "here"}, {"length": drawn}), what
    assert trial.suggest_float("length", 0.0, 1.0) == drawn, what
    trial.report(0.5, 1)
    study.tell(trial, 0.75)
    assert begun.study.best_trial.value == 0.75, f"Expected its end to be in the storage: {DOOR}."
    assert begun.study.best_trial.intermediate_values == {1: 0.5}, f"Expected its report to be in the storage: {DOOR}."
