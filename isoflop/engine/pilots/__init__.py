"""Pilots: processes that clusters start in allocations, and that train one job after the other there."""
