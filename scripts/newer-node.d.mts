export const NEWER_MAJOR: number
export function newerNode(): string | undefined
export function fetchNewerNode(): string | undefined
