"""The simulated cohort: tissue, H&E images and counts that share one latent structure, with the truth."""
