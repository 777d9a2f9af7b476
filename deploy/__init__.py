"""What runs the server: images, Kubernetes, Prometheus and Grafana."""
