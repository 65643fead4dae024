"""Many searches of one kind with different settings; Optuna draws them and keeps the study."""
