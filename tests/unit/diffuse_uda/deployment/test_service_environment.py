from pathlib import Path

from diffuse_uda.deployment.service_environment import service_environment
from diffuse_uda.exchange.quiet import QUIET_ENVIRONMENT

HOME = Path("/var/lib/flower")


def test_calls_home_are_off_even_if_somebody_switched_them_on() -> None:
    made = service_environment({"FLWR_TELEMETRY_ENABLED": "1", "FLWR_DISABLE_UPDATE_CHECK": "0"}, flower_home=HOME)
    assert QUIET_ENVIRONMENT.items() <= made.items()
    assert made["FLWR_HOME"] == str(HOME)


def test_what_opens_ports_or_brings_code_is_dropped_and_the_rest_stays() -> None:
    given = {
        "FLWR_INTERNAL_GRPC_CONTROL_API": "1",
        "FLWR_TRACING_ENABLED": "1",
        "PYTHONPATH": "/elsewhere",
        "UVICORN_ROOT_PATH": "/v1/fleet",
        "FORWARDED_ALLOW_IPS": "*",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
        "CUDA_VISIBLE_DEVICES": "1",
    }
    made = service_environment(given, flower_home=HOME)
    assert {name: made[name] for name in given if name in made} == {
        "FORWARDED_ALLOW_IPS": "127.0.0.1,::1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
        "CUDA_VISIBLE_DEVICES": "1",
    }


def test_a_proxy_of_the_hospital_is_not_asked_for_this_machine() -> None:
    made = service_environment({"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "intranet"}, flower_home=HOME)
    assert made["HTTPS_PROXY"] == "http://proxy:3128"
    assert made["NO_PROXY"] == made["no_proxy"] == "intranet,127.0.0.1,localhost,::1"


def test_pools_of_memory_are_few_unless_the_administrator_says_otherwise() -> None:
    assert service_environment({}, flower_home=HOME)["MALLOC_ARENA_MAX"] == "2"
    assert service_environment({"MALLOC_ARENA_MAX": "8"}, flower_home=HOME)["MALLOC_ARENA_MAX"] == "8"
