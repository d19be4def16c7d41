"""`python -m services.rfm_worker.verification [tenant_id]`: exit code 0 without a difference, 1 and a list, or 2."""

import sys

from services.rfm_worker.settings import RfmWorkerSettings
from services.rfm_worker.verification.run import NoSuchTenantError, run_alone


def main() -> None:
    """Verifies the database of `IACRM_DATABASE_URL`."""
    try:
        report = run_alone(RfmWorkerSettings(), sys.argv[1] if len(sys.argv) > 1 else None)
    except NoSuchTenantError as problem:
        sys.stderr.write(f"{problem}\n")
        sys.exit(2)
    sys.stdout.write("\n".join(report.lines()) + "\n")
    sys.exit(0 if report else 1)


if __name__ == "__main__":
    main()
