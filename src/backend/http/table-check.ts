import type { App } from "./app.js";
import { accessTo, permissions, type Section } from "./permissions.js";

/** Registers routes by their section of `permissions.ts`, and holds the two to each other. */
export class TableCheck {
  /** Method → patterns of its routes. */
  readonly routes = new Map<string, Set<string>>();
  private readonly unplaced = new Set<string>();
  private readonly missing = new Set<string>();

  constructor(private readonly app: App) {
    // Also what is registered beside the sections.
    app.addHook("onRoute", (route) => {
      for (const method of [route.method].flat()) this.unplaced.add(`${method} ${route.url}`);
    });
  }

  async register(section: Section, register: (scope: App) => void | Promise<void>): Promise<void> {
    for (const row of Object.keys(permissions[section])) this.missing.add(row);
    await this.app.register(async (scope: App) => {
      scope.addHook("onRoute", (route) => {
        for (const method of [route.method].flat()) {
          const row = `${method} ${route.url}`;
          this.missing.delete(row);
          const access = accessTo(section, row);
          // One registration of several methods has one access: of rows that differ, the narrower would be lost.
          const differs = route.config?.access !== undefined && route.config.access !== access;
          if (access === null || differs) continue;
          route.config = { ...route.config, access, section };
          this.unplaced.delete(row);
          this.routes.set(method, (this.routes.get(method) ?? new Set()).add(route.url));
        }
      });
      await register(scope);
    });
  }

  /** @throws Error where a route has no row, or a row no route */
  check(): void {
    if (this.unplaced.size === 0 && this.missing.size === 0) return;
    throw new Error(
      `permissions.ts does not fit the routes: no row for [${[...this.unplaced].join(", ")}], ` +
        `no route for [${[...this.missing].join(", ")}]`,
    );
  }
}
