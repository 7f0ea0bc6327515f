# Everything a person does with the stack. `make` alone explains it. Settings are given on the
# command line (make up LB=haproxy HTTP_PORT=9080), in the environment or in .env.

# What was typed reaches the scripts as it came: make would expand $(...) in it, and a shell what is
# left.
$(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),\
  $(eval override $(name) := $$(value $(name)))$(eval export $(name))))

.DEFAULT_GOAL := help
.PHONY: help up update reload-lb down clean ps logs trace scale deploy switchover rotate-certs staff load-large test test-unit test-integration test-failure lint mutants compare bench idle requirements dev manage migrations shell

help: ## show this help
	@echo "make TARGET [LB=nginx|haproxy] [HTTP_PORT=8080] [HTTPS_PORT=8443] [PROMETHEUS_PORT=9090] [COMPOSE_PROJECT_NAME=scale-out]"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  %-18s %s\n", $$1, $$2 }'

up: ## install what is missing, build, start, wait until all is healthy; of what runs, replace what has changed
	@scripts/up.sh

update: ## security updates: fetch the base image and Debian's packages again, build, and replace as make up does
	@scripts/up.sh update

reload-lb: ## serve a renewed certificate, and the load balancer's settings of .env, without an interruption
	@scripts/lb.sh reload

dev: ## a small stack in which a change of a file in app/ shows at once
	@scripts/dev.sh

manage: ## run a command of Django's: make manage CMD="migrate" [S=orders]
	@scripts/manage.sh manage

migrations: ## write the migrations of changed models [APP=products]
	@scripts/manage.sh migrations

shell: ## Python with the models, in a container of web [S=orders]
	@scripts/manage.sh shell

down: ## stop the stack and keep its data
	@scripts/stack.sh down

clean: ## remove the stack: containers, volumes, networks, images, secrets
	@scripts/stack.sh clean

ps: ## show the containers, the certificate, and ports that do not answer
	@scripts/stack.sh ps

logs: ## follow the logs (S=web for one service)
	@scripts/stack.sh logs

trace: ## one request's way through all containers, in the order of time: make trace ID=<X-Request-ID> [TAIL=20000]
	@scripts/trace.sh

scale: ## run N web replicas: make scale N=5
	@scripts/stack.sh scale

deploy: ## put this work tree in place of what runs, one container after the other
	@scripts/deploy.sh

switchover: ## move PostgreSQL's primary to another node
	@scripts/switchover.sh

rotate-certs: ## new certificates for etcd and Patroni, used without an interruption
	@scripts/certificates.sh rotate

staff: ## make the demo's staff user at first, then print a fresh token
	@scripts/staff.sh

load-large: ## import Debian's package index (about 68,000 products) into the live catalogue
	@scripts/load-large.sh

test: ## everything that must pass: lint, in-process tests, live tests
	@scripts/test.sh all

test-unit: ## the tests that need no running stack (TESTS=app/shop/products/tests/test_money.py for some)
	@scripts/test.sh unit

test-integration: ## the live tests, against the running stack (TESTS=tests/test_pages.py for some)
	@scripts/test.sh integration

test-failure: ## the live tests that break parts of the stack, and all tests that take long (TESTS=tests/... for some)
	@scripts/test.sh failure

lint: ## ruff, mypy, shellcheck, hadolint over the whole repository
	@scripts/test.sh lint

mutants: ## change a package's code here and there and show what its tests don't notice: make mutants PACKAGE=identity [MINUTES=30]
	@scripts/mutants.sh

compare: ## compare the ORM over shards with one plain database, at random: make compare [MINUTES=10] [SEED=7]
	@scripts/test.sh compare

bench: ## measure: make bench NAME=proxy (without NAME: list the benches)
	@scripts/bench.sh

idle: ## the CPU time that each container takes at rest, and the engine: make idle [FOR=60]
	@scripts/idle.sh

requirements: ## pin the Python packages again
	@scripts/requirements.sh
