"""Who runs what is planned: one process a run, a queue, cores and GPUs shared out, the dead replaced."""
