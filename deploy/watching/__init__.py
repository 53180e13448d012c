"""What watches Hone, as code: Prometheus's rules and alerts, and Grafana's dashboards."""
