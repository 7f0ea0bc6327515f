# Everything a person does with the stack. `make` alone explains it. Settings are given on the
# command line (make up LB=haproxy HTTP_PORT=9080), in the environment or in .env.

# The scripts get each value as it was typed: make would expand $(...) in it, and a shell the rest.
$(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),\
  $(eval override $(name) := $$(value $(name)))$(eval export $(name))))

.DEFAULT_GOAL := help
.PHONY: help up update reload-lb down clean ps logs trace scale deploy switchover rotate-certs staff load-large test test-unit test-integration test-failure lint mutants compare bench idle requirements dev manage migrations shell

help: ## show this help
	@echo "make TARGET [LB=nginx|haproxy] [HTTP_PORT=8080] [HTTPS_PORT=8443] [PROMETHEUS_PORT=9090] [COMPOSE_PROJECT_NAME=scale-out]"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  %-18s %s\n", $$1, $$2 }'

up: ## install what is missing, build, start, wait until all is healthy; in a running stack, replace what changed
	@scripts/up.sh

update: ## fetch the base image and Debian's packages again (security updates), build, and replace as make up does
	@scripts/up.sh update

reload-lb: ## load a renewed certificate and the load balancer's settings in .env, without an interruption
	@scripts/lb.sh reload

dev: ## start a small stack, in which the next request shows a changed file of app/
	@scripts/dev.sh

manage: ## run a Django command: make manage CMD="migrate" [S=orders]
	@scripts/manage.sh manage

migrations: ## write migrations for changed models [APP=products]
	@scripts/manage.sh migrations

shell: ## open Python with the models, in a container of web [S=orders]
	@scripts/manage.sh shell

down: ## stop the stack and keep its data
	@scripts/stack.sh down

clean: ## remove the stack: containers, volumes, networks, images, secrets
	@scripts/stack.sh clean

ps: ## show the containers, the certificate, and ports that do not answer
	@scripts/stack.sh ps

logs: ## follow the logs (S=web for one service)
	@scripts/stack.sh logs

trace: ## show what one request did in all containers, in order of time: make trace ID=<X-Request-ID> [TAIL=20000]
	@scripts/trace.sh

scale: ## run N web replicas: make scale N=5
	@scripts/stack.sh scale

deploy: ## replace the running application with this work tree, one container after the other
	@scripts/deploy.sh

switchover: ## move PostgreSQL's primary to another node
	@scripts/switchover.sh

rotate-certs: ## make new certificates for etcd and Patroni, and use them without an interruption
	@scripts/certificates.sh rotate

staff: ## make the demo's staff user at first, then print a fresh token
	@scripts/staff.sh

load-large: ## import Debian's package index (about 68,000 products) into the live catalogue
	@scripts/load-large.sh

test: ## run everything that must pass: lint, in-process tests, live tests
	@scripts/test.sh all

test-unit: ## run the tests that need no running stack (TESTS=app/shop/products/tests/test_money.py for some)
	@scripts/test.sh unit

test-integration: ## run the live tests against the running stack (TESTS=tests/test_pages.py for some)
	@scripts/test.sh integration

test-failure: ## run the live tests that break parts of the stack, and the tests that take long (TESTS=tests/... for some)
	@scripts/test.sh failure

lint: ## check the whole repository: ruff, mypy, shellcheck, hadolint, words, migrations, production settings
	@scripts/test.sh lint

mutants: ## change a package's code at random, and show the changes that its tests miss: make mutants PACKAGE=identity [MINUTES=30]
	@scripts/mutants.sh

compare: ## compare the ORM over shards with one plain database, by random operations: make compare [MINUTES=10] [SEED=7]
	@scripts/test.sh compare

bench: ## measure: make bench NAME=proxy (without NAME: list the benches)
	@scripts/bench.sh

idle: ## measure the CPU time of each container at rest, and of the engine: make idle [FOR=60]
	@scripts/idle.sh

requirements: ## pin the Python packages again
	@scripts/requirements.sh
