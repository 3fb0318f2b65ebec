"""sslyze looks at the port with TLS: everything that it knows, and Mozilla's recommendations. What it finds has to be exactly what the
documentation says."""

import os
import pathlib
import sys
import warnings
from urllib.parse import urlsplit

warnings.filterwarnings("ignore")

from sslyze import (  # noqa: E402
    CertificateInfoExtraArgument,
    ScanCommand,
    ScanCommandsExtraArguments,
    Scanner,
    ServerNetworkLocation,
    ServerScanRequest,
)
from sslyze.mozilla_tls_profile.tls_config_checker import (  # noqa: E402
    MozillaTlsConfiguration,
    ServerNotCompliantWithTlsConfiguration,
    TlsConfigurationEnum,
    check_server_against_tls_configuration,
)

# A certificate that needs no clock begins in 1970.
EXPECTED = {"maximum_certificate_lifespan"}

OLD = ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"]


def check(condition, sentence):
    if not condition:
        sys.exit(f"scan.py: {sentence}")


def main():
    url = urlsplit(os.environ["TLS_URL"])
    request = ServerScanRequest(
        server_location=ServerNetworkLocation(hostname="localhost", ip_address=url.hostname, port=url.port),
        scan_commands={command for command in ScanCommand if command.value != "http_headers"},
        scan_commands_extra_arguments=ScanCommandsExtraArguments(
            certificate_info=CertificateInfoExtraArgument(custom_ca_file=pathlib.Path(os.environ["TLS_CA"]))
        ),
    )
    scanner = Scanner()
    scanner.queue_scans([request])
    (result,) = list(scanner.get_results())
    check(result.scan_result is not None, f"the scan failed: {result.connectivity_error_trace}")
    found = result.scan_result

    def of(name):
        attempt = getattr(found, name)
        check(attempt.result is not None, f"{name} was not looked at: {attempt.error_trace or attempt.error_reason}")
        return attempt.result

    for name in OLD:
        accepted = of(f"{name}_cipher_suites").accepted_cipher_suites
        check(not accepted, f"{name} is spoken")
    suites = [
        accepted.cipher_suite.name
        for name in ("tls_1_2", "tls_1_3")
        for accepted in of(f"{name}_cipher_suites").accepted_cipher_suites
    ]
    check(len(suites) == 6, f"suites: {suites}")
    for suite in suites:
        is_modern = suite.startswith(("TLS_ECDHE_", "TLS_AES_", "TLS_CHACHA20_"))
        check(is_modern and ("GCM" in suite or "POLY1305" in suite), f"{suite} is taken")
    check(not of("tls_compression").supports_compression, "TLS compresses")
    check(not of("heartbleed").is_vulnerable_to_heartbleed, "Heartbleed")
    check(not of("openssl_ccs_injection").is_vulnerable_to_ccs_injection, "CCS injection")
    check(of("tls_fallback_scsv").supports_fallback_scsv, "no protection against downgrades")
    check(of("tls_extended_master_secret").supports_ems_extension, "no extended master secret")
    check("NOT_VULNERABLE" in of("robot").robot_result.name, "ROBOT")
    renegotiation = of("session_renegotiation")
    check(renegotiation.supports_secure_renegotiation, "renegotiation is not secure")
    check(not renegotiation.is_vulnerable_to_client_renegotiation_dos, "clients can renegotiate")
    check(not of("tls_1_3_early_data").supports_early_data, "early data, which can be replayed, is taken")
    chain = of("certificate_info").certificate_deployments[0]
    ours = [path for path in chain.path_validation_results if path.trust_store.path == pathlib.Path(os.environ["TLS_CA"])]
    check(len(ours) == 1 and ours[0].was_validation_successful, f"/ca.pem does not vouch for the certificate: {ours}")
    wanted = MozillaTlsConfiguration.get(TlsConfigurationEnum.MOZILLA_INTERMEDIATE)
    try:
        check_server_against_tls_configuration(result, wanted)
        issues = {}
    except ServerNotCompliantWithTlsConfiguration as fault:
        issues = fault.issues
    check(set(issues) == EXPECTED, f"against Mozilla's recommendations: {issues}")
    print(f"   sslyze: {len(suites)} suites, all with forward secrecy; nothing found but what the documentation tells")


main()
