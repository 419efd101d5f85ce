"""Where a sweep that steers itself goes next. Pure: results in, a decision out; nothing is trained or written."""
