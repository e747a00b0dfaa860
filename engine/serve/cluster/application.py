"""The application that ``serve run`` and ``serve deploy`` build."""

# Without annotations from __future__: Ray reads app's, and makes Arguments of what it is given.

from typing import Any

from ray import serve

from .arguments import Arguments
from .replica import Replica


def deployment_options(given: Arguments) -> dict[str, Any]:
    """Of the deployment; a config file's ``deployments`` go before them."""
    options: dict[str, Any] = {
        "name": "fgdm",
        # What an engine works on, and as much again to go on with. The rest waits at the proxies,
        # where a replica that comes later finds it.
        "max_ongoing_requests": 2 * given.max_active,
        "max_queued_requests": given.max_waiting,
        "backpressure_config": {"status_code": 429, "retry_after_s": 1},
        "ray_actor_options": {"num_cpus": given.cpus, "num_gpus": given.gpus},
        # Requests first, then jobs, each for as long; and a little to say so.
        "graceful_shutdown_timeout_s": 2 * given.grace_seconds + 10,
        "graceful_shutdown_wait_loop_s": 0.5,
        "health_check_period_s": 5,
        "health_check_timeout_s": 30,
    }
    if given.max_replicas == given.min_replicas:
        return {**options, "num_replicas": given.min_replicas}
    options["autoscaling_config"] = {
        "min_replicas": given.min_replicas,
        "max_replicas": given.max_replicas,
        "upscale_delay_s": given.upscale_seconds,
        "downscale_delay_s": given.downscale_seconds,
        "look_back_period_s": given.look_back_seconds,
        "policy": {
            "policy_function": "fgdm.serve.cluster.scaling:QueuedRows",
            "policy_kwargs": {"rows_per_replica": given.rows_per_replica},
        },
    }
    return options


def app(given: Arguments) -> serve.Application:
    """Raises RequestError for arguments that don't go together."""
    given.check()
    deployment = serve.deployment(serve.ingress()(Replica))
    made: serve.Application = deployment.options(**deployment_options(given)).bind(
        given.model_dump()
    )
    return made
