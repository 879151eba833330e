"""Rows with gaps and errors: moments row by row from the definitions, and two textbook algorithms for maximum likelihood.

Little & Rubin (2019), Statistical Analysis with Missing Data, section 8.2; Ghahramani & Jordan (1994), Supervised learning
from incomplete data via an EM approach; Bovy, Hogg & Roweis (2011), doi:10.1214/10-AOAS439, equations 16 and 17.
"""

import numpy as np
from scipy import stats
from scipy.special import logsumexp


def covariances_of(error, n, d):
    """Error covariances (n, D, D), from None, standard deviations (n, D) or covariances."""
    if error is None:
        return np.zeros((n, d, d))
    return error if error.ndim == 3 else error[:, :, None] ** 2 * np.eye(d)


def row_by_row(x, error, weights, means, covariances):
    """Log joint densities (n, K), and mean (n, K, D) and covariance (n, K, D, D) of the true rows' deviation from mu."""
    (n, d), k = x.shape, len(weights)
    joint, mean, cov = np.empty((n, k)), np.empty((n, k, d)), np.empty((n, k, d, d))
    E = covariances_of(error, n, d)
    for i in range(n):
        o = ~np.isnan(x[i])
        for j in range(k):
            T = covariances[j][np.ix_(o, o)] + E[i][np.ix_(o, o)]
            A = np.linalg.solve(T, covariances[j][o]).T
            joint[i, j] = np.log(weights[j]) + stats.multivariate_normal.logpdf(x[i, o], means[j, o], T)
            mean[i, j] = A @ (x[i, o] - means[j, o])
            cov[i, j] = covariances[j] - A @ covariances[j][o]
    return joint, mean, cov


def textbook_em(x, weights, means, covariances, steps):
    """EM for rows with gaps: missing values and their products are replaced by their expectations."""
    for _ in range(steps):
        joint, mean, cov = row_by_row(x, None, weights, means, covariances)
        r = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
        filled = np.where(np.isnan(x)[:, None], means + mean, x[:, None])
        counts = r.sum(axis=0)
        weights, means = counts / len(x), np.einsum("ik,ikd->kd", r, filled) / counts[:, None]
        from_mean = filled - means
        scatter = np.einsum("ik,ikd,ike->kde", r, from_mean, from_mean) + np.einsum("ik,ikde->kde", r, cov)
        covariances = scatter / counts[:, None, None]
    return weights, means, covariances


def extreme_deconvolution(x, error, weights, means, covariances, steps):
    """The iteration of Bovy, Hogg & Roweis, with projections R_i onto what is known."""
    (n, d), E = x.shape, covariances_of(error, len(x), x.shape[1])
    for _ in range(steps):
        q, b, B = np.empty((n, len(weights))), np.empty((n, len(weights), d)), np.empty((n, len(weights), d, d))
        for i in range(n):
            known = ~np.isnan(x[i])
            R = np.eye(d)[known]
            for j, (alpha, m, V) in enumerate(zip(weights, means, covariances, strict=True)):
                T = R @ V @ R.T + R @ E[i] @ R.T
                off = x[i, known] - R @ m
                q[i, j] = alpha * np.exp(-off @ np.linalg.inv(T) @ off / 2) / np.sqrt(np.linalg.det(2 * np.pi * T))
                b[i, j] = m + V @ R.T @ np.linalg.inv(T) @ off
                B[i, j] = V - V @ R.T @ np.linalg.inv(T) @ R @ V
        q /= q.sum(axis=1, keepdims=True)
        weights = q.mean(axis=0)
        means = np.einsum("ik,ikd->kd", q, b) / q.sum(axis=0)[:, None]
        off = means - b
        covariances = np.einsum("ik,ikde->kde", q, np.einsum("ikd,ike->ikde", off, off) + B) / q.sum(axis=0)[:, None, None]
    return weights, means, covariances
