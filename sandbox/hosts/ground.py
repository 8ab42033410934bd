"""The blows at whole hosts: unplugged, frozen, slowed down, deaf on one side, and their servers failed over."""

from __future__ import annotations

from sandbox.chaos.ground import Ground
from sandbox.faults import Control
from sandbox.hosts.fleet import HostsFleet
from sandbox.hosts.network import Host


class HostsGround(Ground):
    """Raises what the servers' clients raise, so a blow at something that is down is noticed."""

    def __init__(self, fleet: HostsFleet, control: Control) -> None:
        super().__init__(fleet, control)
        self.hosts = fleet

    # -- the hosts of our processes ----------------------------------------

    def cut(self, name: str) -> None:
        self.hosts.host_of(name).cut()

    def join(self, name: str) -> None:
        self.hosts.host_of(name).join()

    def slow_down(self, name: str) -> None:
        self.hosts.host_of(name).slow_down()

    def go_deaf(self, name: str, *addresses: str) -> None:
        for address in addresses:
            self.hosts.host_of(name).go_deaf_to(address)

    @property
    def database_addresses(self) -> tuple[str, ...]:
        return self.hosts.pooler.address, self.hosts.pair.floating

    @property
    def redis_address(self) -> str:
        return self.hosts.valkeys.floating

    @property
    def outside_address(self) -> str:
        """Where the upstreams are."""
        return self.hosts.network.address

    # -- PostgreSQL and its pooler -----------------------------------------

    def kill_primary(self) -> None:
        self.hosts.pair.primary.kill()

    def cut_primary(self) -> None:
        self.hosts.pair.primary.host.cut()

    def cut_standby(self) -> None:
        """Commits wait for it from now on."""
        self.hosts.pair.standby.host.cut()

    def wait_for_nobody(self) -> None:
        """Let commits go on without the standby."""
        self.hosts.pair.wait_for("")

    def fail_over(self) -> None:
        self.hosts.pair.fail_over()

    def follow(self) -> None:
        """The one that was lost comes back as the standby."""
        self.hosts.pair.follow()

    def kill_pooler(self) -> None:
        self.hosts.pooler.kill()

    def start_pooler(self) -> None:
        self.hosts.pooler.start()

    def cut_pooler(self) -> None:
        self.pooler_host.cut()

    def join_pooler(self) -> None:
        self.pooler_host.join()

    def deafen_pooler(self) -> None:
        """It takes what is sent to it, and its questions to PostgreSQL never leave."""
        self.pooler_host.go_deaf_to(self.hosts.pair.floating)

    def slow_pooler(self) -> None:
        self.pooler_host.slow_down()

    @property
    def pooler_host(self) -> Host:
        return self.hosts.pooler.host

    # -- Valkey ------------------------------------------------------------

    def kill_valkey(self) -> None:
        self.hosts.valkeys.primary.kill()

    def cut_valkey(self) -> None:
        self.hosts.valkeys.primary.host.cut()

    def promote_replica(self) -> None:
        self.hosts.valkeys.fail_over()

    def follow_valkey(self) -> None:
        self.hosts.valkeys.follow()

    # -- a release ---------------------------------------------------------

    def release_next(self) -> None:
        self.hosts.release_next()

    def replace(self, name: str) -> None:
        self.hosts.replace(name)
