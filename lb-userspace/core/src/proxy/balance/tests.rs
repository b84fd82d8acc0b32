//! Claims about the balancer.
