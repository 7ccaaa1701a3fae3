"""Balancers, one file each: the weight λ of distillation against the task; a file's name is the balancer's name."""
