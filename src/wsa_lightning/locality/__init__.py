"""Where attention looks: how much of it stays near, how much falls on the first frames or the sinks, per head."""

from wsa_lightning.locality.measure import HeadStatistics, measure
from wsa_lightning.locality.recommend import recommended_window, recommended_windows

__all__ = ["HeadStatistics", "measure", "recommended_window", "recommended_windows"]
