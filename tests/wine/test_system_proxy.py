"""The proxy in Windows' own settings, read by Windows' Python from Windows' registry."""

import json

import pytest

from tests.support.windows import Windows

pytestmark = [pytest.mark.wine, pytest.mark.timeout(3600)]

READ = r"""
import json, winreg
from bridge.link.proxies import _SETTINGS, proxy_for
from wire.pairing import Pairing

VALUES = {
    "ProxyEnable": (winreg.REG_DWORD, 1),
    "ProxyServer": (winreg.REG_SZ, "proxy.example:3128"),
    "ProxyOverride": (winreg.REG_SZ, "*.home;10.*;<local>"),
}

def found(host):
    proxy = proxy_for(Pairing(host, 8765, "t" * 20, "ab" * 32))
    return None if proxy is None else [proxy.source, proxy.host, proxy.port]

with winreg.CreateKeyEx(winreg.HKEY_CURRENT_USER, _SETTINGS, 0, winreg.KEY_ALL_ACCESS) as key:
    before = {}
    for name in VALUES:
        try:
            before[name] = winreg.QueryValueEx(key, name)
        except OSError:
            before[name] = None
    try:
        for name, (kind, value) in VALUES.items():
            winreg.SetValueEx(key, name, 0, kind, value)
        told = {host: found(host) for host in ("203.0.113.7", "pc.home", "10.1.2.3", "racing")}
        winreg.SetValueEx(key, "ProxyEnable", 0, winreg.REG_DWORD, 0)
        told["switched off"] = found("203.0.113.7")
    finally:
        for name, value in before.items():
            if value is None:
                winreg.DeleteValue(key, name)
            else:
                winreg.SetValueEx(key, name, 0, value[1], value[0])
print(json.dumps(told))
"""


def test_the_proxy_of_windows_settings_counts_but_for_its_exceptions(windows: Windows) -> None:
    done = windows.run("-c", READ)
    assert json.loads(done.output) == {
        "203.0.113.7": ["the system's settings", "proxy.example", 3128],
        "pc.home": None,
        "10.1.2.3": None,
        "racing": None,
        "switched off": None,
    }
