"""What stays of a training: its run, its profile and plots, who is champion."""
