"""Predictors: registered models whose value every scored wallet gets."""
